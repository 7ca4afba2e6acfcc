import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** The JVM: a thread pool, concurrent maps, compiled code and garbage; one checksum per step. */
public final class Workload {
  private static final int THREADS = 4;
  private static final int JOBS = 12;

  /** Lives through many collections; every job replaces and verifies some of it. */
  private static final ConcurrentHashMap<Integer, byte[]> LONG_LIVED = new ConcurrentHashMap<>();

  private static void check(boolean ok, String message) {
    if (ok) return;
    System.err.println("FAIL " + message);
    Runtime.getRuntime().halt(1);
  }

  private static long churn(int seed) {
    Map<String, List<Long>> garbage = new HashMap<>();
    long x = seed * 2862933555777941757L + 3037000493L;
    for (int i = 0; i < 50000; ++i) {
      x ^= x << 13;
      x ^= x >>> 7;
      x ^= x << 17;
      garbage.computeIfAbsent("key" + (x & 1023), key -> new ArrayList<>()).add(x);
    }
    long sum = seed;
    for (Map.Entry<String, List<Long>> entry : new TreeMap<>(garbage).entrySet()) {
      sum = sum * 31 + entry.getKey().hashCode();
      for (long value : entry.getValue()) sum = sum * 131 + value;
    }
    return sum;
  }

  private static long job(int step, int number) {
    byte[] old = LONG_LIVED.get(number);
    check(step == 0 || old != null, "step " + step + ": expected block " + number + ", saw none");
    if (old != null)
      for (byte value : old)
        check(value == (byte) (step - 1), "expected " + (byte) (step - 1) + ", saw " + value);
    byte[] block = new byte[200_000 + number * 1000];
    java.util.Arrays.fill(block, (byte) step);
    LONG_LIVED.put(number, block);
    return churn(step * 1000 + number);
  }

  private static long step(int step, ExecutorService pool)
      throws InterruptedException, ExecutionException {
    List<Future<Long>> results = new ArrayList<>();
    for (int i = 0; i < JOBS; ++i) {
      final int number = i;
      results.add(pool.submit(() -> job(step, number)));
    }
    long sum = 0;
    for (Future<Long> result : results) sum = sum * 1000003 + result.get();
    return sum;
  }

  public static void main(String[] arguments) throws InterruptedException, ExecutionException {
    double seconds = 3;
    for (int i = 0; i + 1 < arguments.length; ++i)
      if (arguments[i].equals("--seconds")) seconds = Double.parseDouble(arguments[i + 1]);
    int steps = (int) (seconds * 10) + 1;
    ExecutorService pool = Executors.newFixedThreadPool(THREADS);
    System.out.println("ready");
    long rolling = 0;
    for (int i = 0; i < steps; ++i) {
      rolling = rolling * 31 + step(i, pool);
      System.out.printf("step %d: %016x%n", i, rolling);
      TimeUnit.MILLISECONDS.sleep(1);
    }
    pool.shutdown();
    check(pool.awaitTermination(1, TimeUnit.HOURS), "expected the threads to end");
    System.out.println("ok");
  }
}
