"""Tables as earlier versions of the code left them; ``make`` says how they came to be."""
