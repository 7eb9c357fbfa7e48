"""A stand-in for curl, with the options that the README uses, for machines that lack it."""

import argparse
import sys
import urllib.error
import urllib.request


def main() -> None:
    """Send one request and print the answer, whatever its status."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-sS", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", "--data-binary", dest="body")
    given = parser.parse_args()
    body = sys.stdin.buffer.read() if given.body == "@-" else given.body and given.body.encode()
    headers = dict(header.split(": ", 1) for header in given.headers)
    request = urllib.request.Request(given.url, body, headers, method=given.method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            sys.stdout.buffer.write(answer.read())
    except urllib.error.HTTPError as error:
        sys.stdout.buffer.write(error.read())


if __name__ == "__main__":
    main()
