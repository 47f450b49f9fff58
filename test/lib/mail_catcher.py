#!/usr/bin/python3
"""A mail relay and mail API for tests and the demo: takes everything, tells
everything, and fails on request.  See mail_catcher/__init__.py."""
import sys

sys.dont_write_bytecode = True      # the tree may belong to somebody else

from mail_catcher.main import main  # noqa: E402  (the folder of that name)

if __name__ == "__main__":
    sys.exit(main())
