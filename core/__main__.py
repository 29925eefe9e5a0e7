"""`python -m core` runs the command `minidiff`, also under torchrun: `torchrun --nproc-per-node 2 -m core train`."""

if __name__ == "__main__":
    from core.system.import_path import leave_current_folder

    leave_current_folder()

    from core.cli import main

    main()
