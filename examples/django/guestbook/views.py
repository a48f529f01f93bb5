"""The guest book's page, and a small answer that tells which worker gave it."""

import os
import socket

from django import forms
from django.db import connection, transaction
from django.db.models import F
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from mysite.version import VERSION

from guestbook.models import Entry, Visits

ENTRIES_SHOWN = 50


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ("name", "text")
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}


def served_by():
    return {
        "node": socket.gethostname(),
        "instance": os.environ.get("LITHOS_NAME", "development"),
        "worker": os.getpid(),
        "version": VERSION,
    }


def count_visit():
    """One more visit. All visitors wait for the same row, so it must not be held until the disk has it: a crash of the
    database may forget the last visits, never an entry."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit TO off")
        Visits.objects.filter(pk=1).update(count=F("count") + 1)
        return Visits.objects.values_list("count", flat=True).get(pk=1)


@require_http_methods(["GET", "HEAD", "POST"])
def book(request):
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("book")
    context = {"form": form, "entries": Entry.objects.all()[:ENTRIES_SHOWN], "visits": count_visit(), **served_by()}
    return render(request, "guestbook/book.html", context)


@require_safe
def whoami(request):
    return JsonResponse({**served_by(), "visits": count_visit()})
