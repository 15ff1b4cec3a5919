"""What makes a fork somebody's own, and moves it along."""
