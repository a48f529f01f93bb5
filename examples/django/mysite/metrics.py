"""Counts requests for cantal, where manor's client library is installed; elsewhere it does nothing."""

try:
    from manor.cantal.client.django import CantalMiddleware as CountRequests
except ImportError:

    def CountRequests(get_response):
        return get_response


__all__ = ["CountRequests"]
