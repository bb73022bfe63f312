"""Runs the tests of modules and prints the verdict of each, one a line."""
import logging
import sys
import unittest


class Result(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        verdicts[test.id()] = "ok"


verdicts = {}
result = Result()
# As Tornado's own runner has it.
logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
loader = unittest.TestLoader()
tests = loader.loadTestsFromNames(sys.argv[1:])
if loader.errors:
    sys.exit("\n".join(loader.errors))
# What tests print is no verdict.
out, sys.stdout = sys.stdout, sys.stderr
tests.run(result)
for kind in ["skipped", "expectedFailures", "unexpectedSuccesses", "failures", "errors"]:
    for told in getattr(result, kind):
        test, why = told if isinstance(told, tuple) else (told, "")
        verdicts[test.id()] = kind
        if kind in ["failures", "errors"]:
            print(test.id(), why, file=sys.stderr)
for test, verdict in sorted(verdicts.items()):
    print(test, verdict, file=out)
