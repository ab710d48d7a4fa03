"""`python -m flows` is `shardmill`."""

from flows.cli import main

if __name__ == "__main__":
    main()
