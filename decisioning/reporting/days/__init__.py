"""What reports read of whole days (UTC), rolled up once their reward windows are closed."""
