// Locks with the guards of C++ in one chosen way, prints READY when in position, and ends by
// itself.
//
//   guard abba KIND SECONDS        two threads lock a pair in opposite order: a deadlock
//   guard scoped KIND SECONDS      the same, all at once, and again and again: none
//   guard unique KIND SECONDS      the same, with a trial: none
//   guard readers shared SECONDS   many readers, and a writer that waits for them: none
//   guard condition KIND SECONDS   threads in a condition variable: none
//
// KIND: mutex, recursive, timed, shared
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

template <class Mutex> static void lock(Mutex &mutex) { mutex.lock(); }
template <> void lock(std::timed_mutex &mutex) { (void)mutex.try_lock_for(1h); }

template <class Mutex> struct Pair {
    Mutex first, second;
};

template <class Mutex> static void abba() {
    static Pair<Mutex> pair;
    static std::atomic<int> holding;
    for (bool turned : {false, true})
        std::thread([turned] {
            Mutex &mine = turned ? pair.second : pair.first;
            Mutex &other = turned ? pair.first : pair.second;
            lock(mine);
            for (holding++; holding < 2;) std::this_thread::yield();
            lock(other);
            for (;;) pause();
        }).detach();
}

template <class Mutex> static void scoped() {
    static Pair<Mutex> pair;
    for (int i = 0; i < 4; i++)
        std::thread([i] {
            for (;;)
                if (i % 2) std::scoped_lock both(pair.first, pair.second);
                else std::scoped_lock both(pair.second, pair.first);
        }).detach();
}

template <class Mutex> static void unique() {
    static Pair<Mutex> pair;
    for (int i = 0; i < 4; i++)
        std::thread([i] {
            for (;;) {
                std::unique_lock<Mutex> mine(i % 2 ? pair.first : pair.second);
                std::unique_lock<Mutex> other(i % 2 ? pair.second : pair.first, std::try_to_lock);
            }
        }).detach();
}

static void readers() {
    static std::shared_mutex mutex;
    for (int i = 0; i < 4; i++)
        std::thread([] { std::shared_lock<std::shared_mutex> held(mutex); pause(); }).detach();
    std::this_thread::sleep_for(100ms);
    std::thread([] { std::unique_lock<std::shared_mutex> held(mutex); }).detach();
}

template <class Mutex> static void condition() {
    static Mutex mutex;
    static std::condition_variable_any woken;
    for (int i = 0; i < 4; i++)
        std::thread([i] {
            for (;;) {
                std::unique_lock<Mutex> held(mutex);
                if (i) woken.wait(held);
                else woken.notify_all();
            }
        }).detach();
}

template <class Mutex> static bool run(const std::string &mode) {
    if (mode == "abba") abba<Mutex>();
    else if (mode == "scoped") scoped<Mutex>();
    else if (mode == "unique") unique<Mutex>();
    else if (mode == "readers") readers();
    else if (mode == "condition") condition<Mutex>();
    else return false;
    return true;
}

int main(int count, char **words) {
    if (count < 4) return 2;
    std::string mode = words[1], kind = words[2];
    unsigned seconds = std::atoi(words[3]);
    bool known = kind == "mutex" ? run<std::mutex>(mode)
        : kind == "recursive" ? run<std::recursive_mutex>(mode)
        : kind == "timed" ? run<std::timed_mutex>(mode)
        : kind == "shared" && run<std::shared_mutex>(mode);
    if (!known) return 2;
    // Long enough for everybody to be where they stay.
    std::this_thread::sleep_for(300ms);
    std::puts("READY");
    std::fflush(stdout);
    alarm(seconds);
    sleep(seconds);
    _exit(0);
}
