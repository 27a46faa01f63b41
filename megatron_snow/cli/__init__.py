"""One module a verb: HELP, add_arguments(parser), run(arguments). Heavy imports stay inside run."""
