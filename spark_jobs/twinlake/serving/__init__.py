"""How values are given out: services made ready to be read, and the API over HTTP."""
