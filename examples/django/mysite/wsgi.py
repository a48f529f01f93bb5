import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()

if "CANTAL_PATH" in os.environ:
    try:
        from manor.cantal import client
    except ImportError:
        pass
    else:
        # In gunicorn's master, before the workers are forked: each of them then publishes files of its own.
        client.start(per_process=True)
