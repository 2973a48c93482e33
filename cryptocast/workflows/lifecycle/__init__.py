"""What happens to versions after their fit: comparison, promotion, rollback, live scoring, tests, archives."""
