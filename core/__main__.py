"""`python -m core` is the command `minidiff`, also for launchers: `torchrun --nproc-per-node 2 -m core train`."""

from core.cli import main

if __name__ == "__main__":
    main()
