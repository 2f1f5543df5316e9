"""The command line: words in, a screen of answer or one line of error out. One module a command."""
