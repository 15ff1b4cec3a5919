// Sends requests with Java's own HTTP client, and prints a line for each case: its name and the result.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.zip.GZIPOutputStream;

public class Client {
    static String address;
    static HttpClient client;

    static void ask(String name, String method, String path, BodyPublisher body, String... headers) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(address + path)).method(method, body);
        if (headers.length > 0) request.headers(headers);
        var answer = client.send(request.build(), BodyHandlers.ofString());
        System.out.println(name + "\t" + answer.statusCode() + "\t" + answer.body().contains("setosa"));
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        var row = arguments[1].getBytes();
        var packed = new ByteArrayOutputStream();
        try (var gzip = new GZIPOutputStream(packed)) { gzip.write(row); }
        // Its default is HTTP/2, which it offers by an upgrade if there is no TLS.
        for (var version : HttpClient.Version.values()) {
            client = HttpClient.newBuilder().version(version).build();
            var offer = version == HttpClient.Version.HTTP_2 ? " offering h2c" : "";
            ask("POST" + offer, "POST", "/predict", BodyPublishers.ofByteArray(row));
            ask("kept open" + offer, "POST", "/predict", BodyPublishers.ofByteArray(row));
            var stream = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(row));
            ask("chunked" + offer, "POST", "/predict", stream);
            ask("gzip" + offer, "POST", "/predict", BodyPublishers.ofByteArray(packed.toByteArray()), "Content-Encoding", "gzip");
            ask("HEAD" + offer, "HEAD", "/health/ready", BodyPublishers.noBody());
            ask("OPTIONS" + offer, "OPTIONS", "/predict", BodyPublishers.noBody());
            var patient = HttpRequest.newBuilder(URI.create(address + "/predict")).expectContinue(true);
            var answer = client.send(patient.POST(BodyPublishers.ofByteArray(row)).build(), BodyHandlers.ofString());
            System.out.println("Expect" + offer + "\t" + answer.statusCode() + "\t" + answer.body().contains("setosa"));
        }
    }
}
