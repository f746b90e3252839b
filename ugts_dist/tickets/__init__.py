"""What is done with a ticket once it is found: looked at, compared, exported, used to predict."""
