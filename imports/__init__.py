"""Import of orders from files, by the topics and the validation of every other order."""
