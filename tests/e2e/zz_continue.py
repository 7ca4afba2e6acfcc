#!/usr/bin/python3
import disturbed
import importlib, sys
m = importlib.import_module("continue")
class C(m.Continue):
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"
    cycles = 10
if __name__ == "__main__":
    disturbed.main(C, disturbed.features(m.OPTIONS) | {"forkstorm": {"all_checkpoints": {"user": 40, "root": 20}}})
