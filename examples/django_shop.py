"""A shop's server with Django: one client for each process, made when it is first needed.

Start it with ``python examples/django_shop.py runserver``, or with any WSGI server as
``examples.django_shop:application``; SHOP_NEXTBEST_URL and SHOP_NEXTBEST_KEY say which service it asks. In a project of
several files, settings and addresses stand in theirs, and the rest in the views of an application.
"""

import json
import os
import sys
from functools import cache
from threading import Lock

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from nextbest_client import Client

DEFAULTS = {"home": [{"offer_id": "silver", "treatment": {"title": "Our cards", "link": "/cards"}}]}
TIMEOUT_S = 0.5

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["localhost", "127.0.0.1", "shop"],
        SECRET_KEY=os.environ.get("SHOP_SECRET_KEY", os.urandom(32).hex()),
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    )


_MAKING = Lock()


def nextbest() -> Client:
    """Return the client of this process. It is made by the first request, after any fork; two at once make one."""
    with _MAKING:
        return _client()


@cache
def _client() -> Client:
    url, key = os.environ["SHOP_NEXTBEST_URL"], os.environ["SHOP_NEXTBEST_KEY"]
    return Client(url, key, defaults=DEFAULTS, timeout_s=TIMEOUT_S)


@require_GET
@ensure_csrf_cookie
def banners(request: HttpRequest, customer_id: str) -> HttpResponse:
    """Ask for the best offers for a customer; with the service away, the shop's own."""
    decision = nextbest().decide(customer_id, "home", {"page": "home"}, fields=["treatment"])
    shown = [
        {
            "decision_id": decision.decision_id,
            "offer_id": offer.offer_id,
            "title": offer.treatment.title,
            "link": offer.treatment.link,
        }
        for offer in decision.offers
        if offer.treatment is not None
    ]
    return JsonResponse(shown, safe=False)


@require_POST
def seen(request: HttpRequest) -> HttpResponse:
    """Pass an outcome on, in the background: the customer waits for nothing. The page sends Django's CSRF token."""
    try:
        told = json.loads(request.body)
        decision_id, offer_id, outcome = (str(told[name]) for name in ("decision_id", "offer_id", "outcome"))
    except (ValueError, KeyError, TypeError):
        return HttpResponseBadRequest("send decision_id, offer_id and outcome, as JSON")
    if outcome not in ("presented", "clicked"):
        return HttpResponseBadRequest(
            "a page tells what was presented and clicked; sales are told by the shop"
        )
    nextbest().tell(decision_id, offer_id, outcome)
    return HttpResponse(status=202)


urlpatterns = [path("banners/<str:customer_id>", banners), path("seen", seen)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
