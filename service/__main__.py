"""`python -m service` is `inferwire`."""

# Guarded: the engine's child processes import this file again.
if __name__ == "__main__":
    from service.cli.main import main

    main()
