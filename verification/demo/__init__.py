"""`make demo`: real services, real baskets and footage for a minute, reconciled at the end."""
