"""Pure decisions: no input or output, no clock, no logging. Time and chance come in as parameters."""
