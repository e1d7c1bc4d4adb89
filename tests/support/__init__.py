"""What tests share: builders, suites of behaviour, services of their own."""
