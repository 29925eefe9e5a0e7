"""The benches of the Lab, one a module, and the widgets that only they use."""
