"""`python -m tui_trainer` is `tui-trainer`."""

from tui_trainer.cli.main import main

if __name__ == "__main__":
    main()
