"""What is known about customers before they are asked: profiles, their cache, and bulk imports."""
