from django.contrib import admin
from django.urls import path
from guestbook import views

urlpatterns = [
    path("", views.book, name="book"),
    path("whoami", views.whoami, name="whoami"),
    path("admin/", admin.site.urls),
]
