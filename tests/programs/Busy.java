// A JVM at work for a while: garbage, monitors, locks of java.util.concurrent, pools of
// threads that come and go.
//
//   java Busy.java SECONDS
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.stream.IntStream;

public final class Busy {
    private static final Object MONITOR = new Object();
    private static final ReentrantReadWriteLock LOCK = new ReentrantReadWriteLock();
    private static final ConcurrentHashMap<Integer, byte[]> KEPT = new ConcurrentHashMap<>();
    private static long turns;

    public static void main(String[] args) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(Long.parseLong(args[0]));
        while (System.nanoTime() < until) {
            try (var pool = new Pool(16)) {
                var done = new CountDownLatch(400);
                for (int i = 0; i < 400; i++) pool.run(i, done);
                done.await();
            }
            IntStream.range(0, 100_000).parallel().mapToObj(Integer::toString).count();
            Thread.sleep(20);
        }
    }

    private static void work(int number) {
        List<byte[]> garbage = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            garbage.add(new byte[4096]);
            synchronized (MONITOR) {
                turns++;
                if (number % 40 == 0) {
                    try { MONITOR.wait(1); } catch (InterruptedException e) { return; }
                } else {
                    MONITOR.notifyAll();
                }
            }
            var lock = number % 8 == 0 ? LOCK.writeLock() : LOCK.readLock();
            lock.lock();
            try { KEPT.put((number * 50 + i) % 2000, garbage.get(i)); } finally { lock.unlock(); }
        }
    }

    private record Pool(java.util.concurrent.ExecutorService service) implements AutoCloseable {
        Pool(int threads) { this(Executors.newFixedThreadPool(threads)); }
        void run(int number, CountDownLatch done) {
            service.submit(() -> { try { work(number); } finally { done.countDown(); } });
        }
        public void close() { service.shutdown(); }
    }
}
