// An application of Java with a provider's URL in its code.
//
// Prints what came back as one line of JSON. The document and the question are in its environment.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import java.util.Map;
import java.util.TreeMap;

public final class Ask {
    private static final String URL = "https://api.openai.com/v1";

    public static void main(String[] arguments) throws Exception {
        var client = OpenAIOkHttpClient.builder()
                .baseUrl(URL)
                .apiKey("key-of-the-application")
                .maxRetries(0)
                .build();
        var call = ChatCompletionCreateParams.builder()
                .model("any-model")
                .addUserMessage(System.getenv("DOCUMENT"))
                .addUserMessage(System.getenv("QUESTION"))
                .build();
        var response = client.chat().completions().withRawResponse().create(call);
        var headers = new TreeMap<String, String>();
        for (String name : response.headers().names()) {
            if (name.toLowerCase().startsWith("x-liquid-")) {
                headers.put(name.toLowerCase(), response.headers().values(name).get(0));
            }
        }
        var text = response.parse().choices().get(0).message().content().orElse("");
        var answer = Map.of("base_url", URL, "headers", headers, "text", text);
        System.out.println(new ObjectMapper().writeValueAsString(answer));
        client.close();
    }
}
