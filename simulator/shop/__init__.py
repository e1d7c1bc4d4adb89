"""A shop with known truth: shoppers, what two cameras see of them, and what the tills sell them.

day = ShopDay(branch, shoppers=100, seed=7, start=datetime.now(timezone.utc))
day.shots("B01-entrance")   # pictures, drawn on demand
day.orders()                # order events with their times
day.truth()                 # crossings, visits, who bought
"""

from simulator.shop.day import BRANCH, ShopDay, Shot
from simulator.shop.pictures import write_pictures
from simulator.shop.truth import Truth, sum_up
from simulator.shop.views import FPS, HEIGHT, WIDTH

__all__ = [
    "BRANCH", "FPS", "HEIGHT", "WIDTH", "ShopDay", "Shot", "Truth", "sum_up", "write_pictures",
]  # fmt: skip
