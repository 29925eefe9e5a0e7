"""minidiff's screen: a Textual app over the run directories and the engine process; it never loads torch."""
