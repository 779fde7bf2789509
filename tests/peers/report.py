"""What passed and what failed, line by line, and counted at the end."""

import traceback


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def one(self, name, fault=None):
        if fault:
            self.failed += 1
            print(f"FAILED {name}: {fault}", flush=True)
        else:
            self.passed += 1
            print(f"ok     {name}", flush=True)

    def case(self, name, run, *args):
        """`run` passes unless it raises; what it returns is shown."""
        try:
            shown = run(*args)
        except Exception as fault:  # a test's failure is any
            place = traceback.extract_tb(fault.__traceback__)[-1]
            self.one(name, f"{type(fault).__name__}: {fault} ({place.name}:{place.lineno})")
        else:
            self.one(f"{name}{': ' + shown if shown else ''}")

    def part(self, name, run, *args):
        """A part counts by its cases; that it cannot go on is a failure of its own."""
        try:
            run(*args)
        except Exception as fault:
            traceback.print_exception(fault)
            self.one(name, f"{type(fault).__name__}: {fault}")

    @staticmethod
    def note(text):
        print(f"note   {text}", flush=True)
