"""`python -m puna` and the `puna` script."""

import signal


def main() -> None:
    """Import the commands and run one; Ctrl-C while importing ends at once, without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from puna.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
