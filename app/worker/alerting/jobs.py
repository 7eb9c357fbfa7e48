"""The jobs of alerts: one looks at what is watched, one tells webhooks."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.worker.alerting.webhook import WebhookFailed, Webhooks
from decisioning.catalog.alert import Alert
from decisioning.catalog.store import CatalogueStore
from decisioning.reporting.alerting import changes_of
from decisioning.reporting.store_alert_checks import AlertChecks
from decisioning.reporting.store_alerts import AlertStore, Delivery
from storage.errors import Unavailable

log = logging.getLogger(__name__)

INTERVAL_S = 30.0
DELIVERY_INTERVAL_S = 2.0


@dataclass
class AlertWatch:
    """Looks at all alerts of the newest catalogue. Of several, one is at work at a time."""

    store: AlertStore
    checks: AlertChecks
    catalogues: CatalogueStore
    clock_ms: Callable[[], int]

    async def round(self) -> float:
        """Look at all alerts; return how long to sleep.

        One that cannot be looked at leaves the others alone, and raises ``Unavailable`` when they are done.
        """
        catalogue = await self.catalogues.load()
        failure: Unavailable | None = None
        async with self.store.turn() as turn:
            if turn is None:
                return INTERVAL_S
            for alert in catalogue.alert_rules.values():
                try:
                    findings = await self.checks.look(alert, catalogue)
                except Unavailable as error:
                    failure = error
                    continue
                changes = list(changes_of(findings, await turn.known(alert.alert_id)))
                await turn.keep(alert, changes, self.clock_ms())
                for change in changes:
                    if change.turned:
                        state = "fires" if change.firing else "is resolved"
                        log.warning("alert %s %s: %s", alert.alert_id, state, change.finding.message)
            await turn.forget(catalogue.alert_rules.keys())
        if failure is not None:
            raise failure
        return INTERVAL_S


@dataclass
class WebhookTeller:
    """Sends the requests that are due, one after the other."""

    store: AlertStore
    catalogues: CatalogueStore
    webhooks: Webhooks

    async def round(self) -> float:
        """Send the next request; return how long to sleep (0 while there may be more). Raises ``Unavailable``."""
        delivery = await self.store.take()
        if delivery is None:
            return DELIVERY_INTERVAL_S
        # As it is declared now: a mistake in the address or the secret is mended without losing what was to be told.
        alert = (await self.catalogues.load()).alert_rules.get(delivery.alert_id)
        try:
            await self._send(alert, delivery)
        except WebhookFailed as error:
            log.warning("the webhook of alert %s: %s", delivery.alert_id, error)
            await self.store.failed(delivery, str(error))
        else:
            await self.store.delivered(delivery)
        return 0.0

    async def _send(self, alert: Alert | None, delivery: Delivery) -> None:
        if alert is None or alert.webhook is None or alert.secret is None:
            raise WebhookFailed("the alert has no webhook any more")
        secret = await asyncio.to_thread(self.webhooks.read_secret, alert.secret)
        await self.webhooks.send(alert.webhook, secret, delivery.delivery_id, delivery.body)
