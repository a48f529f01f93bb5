"""Counts requests for cantal, where manor's client library is installed; elsewhere it does nothing."""

try:
    from manor.cantal.client.django import CantalMiddleware as CountRequests
except ImportError:

    def CountRequests(get_response):  # noqa: N802, a middleware is named like a class
        return get_response


__all__ = ["CountRequests"]
