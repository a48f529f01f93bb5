/* What the containers of these tests run when a shell is not enough.
 *
 *     guest serve FD              answer every connection of a listening socket with LITHOS_NAME and our pid
 *     guest http PORT SECONDS     listen at 127.0.0.1:PORT; answer 503 for so long, then 200
 *     guest notify TEXT           send TEXT to NOTIFY_SOCKET, then wait for ever
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked_to_stop;

static void stop(int number) { (void)number; asked_to_stop = 1; }

static int serve(int fd)
{
    char answer[256], asked[1024];
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    while (!asked_to_stop) {
        int connection = accept(fd, NULL, NULL);
        if (connection < 0)
            continue;
        snprintf(answer, sizeof answer, "%s %d\n", getenv("LITHOS_NAME"), (int)getpid());
        if (write(connection, answer, strlen(answer)) < 0)
            perror("write");
        shutdown(connection, SHUT_WR);
        while (read(connection, asked, sizeof asked) > 0)
            ;
        close(connection);
    }
    return 0;
}

static int http(int port, int seconds)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    time_t ready_at = time(NULL) + seconds;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16) < 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        char asked[4096];
        int connection = accept(fd, NULL, NULL);
        const char *answer = time(NULL) >= ready_at ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                                    : "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n";
        if (read(connection, asked, sizeof asked) > 0 && write(connection, answer, strlen(answer)) < 0)
            perror("write");
        close(connection);
    }
}

static int notify(const char *text)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to) < 0) {
        perror("sendto");
        return 1;
    }
    for (;;)
        pause();
}

int main(int count, char **words)
{
    if (count > 2 && !strcmp(words[1], "serve"))
        return serve(atoi(words[2]));
    if (count > 3 && !strcmp(words[1], "http"))
        return http(atoi(words[2]), atoi(words[3]));
    if (count > 2 && !strcmp(words[1], "notify"))
        return notify(words[2]);
    fprintf(stderr, "guest: see the comment at the top of guest.c\n");
    return 2;
}
