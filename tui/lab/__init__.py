"""The benches of the Lab screen."""
