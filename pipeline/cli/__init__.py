"""The command line: words in, one line of error or a screen of answer out. One module a command."""
