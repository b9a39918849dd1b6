// A key-value server in Java that speaks a part of redis' protocol (GET, SET, INCR, arrays of bulk strings only), to be recorded
// under the checked load of load.c. A thread for each connection, a scheduled one that makes garbage and has it collected.
import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

public final class Server {
  private static final ConcurrentHashMap<String, String> values = new ConcurrentHashMap<>();
  private static final AtomicLong requests = new AtomicLong();
  private static final AtomicLong connections = new AtomicLong();
  private static long ticks;
  private static volatile byte[][] garbage;

  private static String[] readRequest(InputStream in) throws IOException {
    String[] words = new String[readNumber(in, '*')];
    for (int i = 0; i < words.length; i++) {
      byte[] word = in.readNBytes(readNumber(in, '$'));
      words[i] = new String(word, StandardCharsets.ISO_8859_1);
      in.skipNBytes(2);
    }
    return words;
  }

  private static int readNumber(InputStream in, int kind) throws IOException {
    int first = in.read();
    if (first < 0) throw new EOFException();
    if (first != kind) throw new IOException("expected " + (char) kind);
    int number = 0;
    for (int c; (c = in.read()) != '\n';) {
      if (c < 0) throw new EOFException();
      if (c != '\r') number = number * 10 + c - '0';
    }
    return number;
  }

  private static String answer(String[] words) {
    switch (words[0].toUpperCase()) {
      case "SET":
        values.put(words[1], words[2]);
        return "+OK\r\n";
      case "GET":
        String value = values.get(words[1]);
        return value == null ? "$-1\r\n" : "$" + value.length() + "\r\n" + value + "\r\n";
      case "INCR":
        return ":" + values.merge(words[1], "1", (old, one) -> "" + (Long.parseLong(old) + 1)) + "\r\n";
      default:
        return "-ERR unknown\r\n";
    }
  }

  private static void serve(Socket socket) {
    connections.incrementAndGet();
    try (socket) {
      socket.setTcpNoDelay(true);
      InputStream in = new BufferedInputStream(socket.getInputStream());
      OutputStream out = socket.getOutputStream();
      for (;;) {
        String reply = answer(readRequest(in));
        requests.incrementAndGet();
        out.write(reply.getBytes(StandardCharsets.ISO_8859_1));
      }
    } catch (IOException e) {
      // The connection has ended.
    } finally {
      connections.decrementAndGet();
    }
  }

  private static void tick() {
    List<byte[]> made = new ArrayList<>();
    for (int i = 0; i < 64; i++) made.add(new byte[16 << 10]);
    garbage = made.toArray(new byte[0][]);
    if (++ticks % 20 == 0) {
      System.gc();
      System.err.println(requests + " requests, " + connections + " connections");
    }
  }

  public static void main(String[] arguments) throws IOException {
    Executors.newScheduledThreadPool(1).scheduleAtFixedRate(Server::tick, 50, 50, TimeUnit.MILLISECONDS);
    try (ServerSocket listener = new ServerSocket(6379, 511)) {
      for (;;) {
        Socket socket = listener.accept();
        new Thread(() -> serve(socket)).start();
      }
    }
  }
}
