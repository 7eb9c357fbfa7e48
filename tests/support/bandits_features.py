"""Declared features of every kind, and a moment at which they are asked."""

from bandits.features import Feature

AT_MS = 1_750_000_000_000  # Sunday, 15 June 2025, 15:06:40 UTC
AGE = Feature("age", "numeric", "customer.age", low=20, high=60)
INCOME = Feature("income", "numeric", "customer.income", default=1000.0)
REASON = Feature("reason", "category", "context.reason", values=("renewal", "complaint"))
CITY = Feature("city", "category", "customer.city", buckets=5)
PAIR = Feature("pair", "cross", of=("reason", "city"), buckets=7)
HOUR = Feature("hour", "time_of_day", time_zone="America/New_York", harmonics=2)
DAY = Feature("day", "weekday", time_zone="Pacific/Auckland")
LIKES = Feature("likes", "interests", "customer.interests", topics=("sport", "travel"))
LIKES_ANY = Feature("any", "interests", "customer.interests", buckets=4)
ALL = (AGE, INCOME, REASON, CITY, PAIR, HOUR, DAY, LIKES, LIKES_ANY, Feature("p", "propensity"))
