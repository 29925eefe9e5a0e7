"""Trains a small network with two common mistakes, and lets `diagnose` find them."""

import torch
from torch import nn

from core import diagnose, load_dataset
from core.runs.findings import CheckResult


class Net(nn.Module):
    """Three convolutions that are given the noise level as a second channel."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.hidden, self.out = (nn.Conv2d(a, b, 5, padding=2) for a, b in ((2, 16), (16, 16), (16, 1)))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = t.view(-1, 1, 1, 1).expand_as(x)
        return self.out(torch.relu(self.hidden(torch.relu(self.into(torch.cat([x, level], 1))))))


torch.manual_seed(0)
images = load_dataset("glyphs", limit=64).images / 127.5 - 1
images = images.repeat(8, 1, 1, 1)  # the first mistake: few images, repeated
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for _ in range(100):
    x = images[torch.randint(512, (32,))]
    t, noise = torch.rand(32), torch.randn_like(x)
    amount = t.view(-1, 1, 1, 1)
    loss = (net((1 - amount) * x + amount * noise, t) - noise).square().mean()  # the second: noise, not velocity
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

for step in diagnose(net, images, prediction="velocity", n=16):
    if isinstance(step, CheckResult):
        for finding in step.findings:
            print(f"{finding.check}: {finding.evidence}\n  {finding.cause}\n  {finding.advice}")
