#!/usr/bin/env python3
"""The one door to Finetune Studio.

    python3 launch.py           prepare .venv the first time, then open the studio in the browser
    python3 launch.py test      run the tests
    python3 launch.py gpu       any other word is a command of the studio

Needs Python 3.11 and nothing else. Every Python 3 can read this file, so that an older one says what is
missing in place of a traceback; the work is done in bootstrap/, which may use the language of today.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "Finetune Studio needs Python 3.11 or newer; this is Python %d.%d.\n"
        "Install a newer one (from your system's packages or python.org) and start with it, for example:\n"
        "    python3.11 launch.py\n" % sys.version_info[:2]
    )
    sys.exit(1)

from bootstrap.door import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
