"""What pipeline authors write, and how it is found, called and judged. Knows nothing of Postgres or processes.

definition    @pipeline, and what a pipeline takes
registry      finding the pipelines of an application
context       what a run may ask of the daemon
interruption  how a run is stopped from outside
execution     one attempt: from the arguments' text to the value that says how it ended
"""
