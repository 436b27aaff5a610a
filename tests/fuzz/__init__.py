"""Coverage-guided fuzzing: one target per parser, run by libFuzzer through atheris."""
