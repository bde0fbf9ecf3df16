import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The job in Kafka Streams: stations are repartitioned by their id, so that all workers share a batch's callbacks;
 * results are repartitioned by their batch, whose rows stand in a RocksDB store with a cache and a changelog; a
 * punctuator watches the deadlines. At least once, the default: what came out since the last commit may come out again.
 */
public final class Merge {
    private static final int PARTITIONS = 8;
    private static final double TIMEOUT = 60.0;
    private static final String STORE = "batches";
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ZoneId ZONE = ZoneId.of("Asia/Shanghai");
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss");

    public static void main(String[] args) {
        String servers = args[0], source = args[1], output = args[2], folder = args[3];
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, source);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, folder);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 * 1024 * 1024);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        KafkaStreams streams = new KafkaStreams(topology(source, output).build(), properties);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
    }

    private static StreamsBuilder topology(String source, String output) {
        Serde<String> text = Serdes.String();
        Serde<byte[]> bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), text, bytes).withCachingEnabled());
        KStream<String, ObjectNode> events =
            builder.stream(source, Consumed.with(bytes, bytes)).flatMap((key, value) -> split(source, value));
        KStream<String, byte[]> results = events
            .filter((key, event) -> event.has("records"))
            .mapValues(Merge::write)
            .repartition(Repartitioned.with(text, bytes).withName("stations").withNumberOfPartitions(PARTITIONS))
            .map(Merge::call);
        events
            .filter((key, event) -> event.has("expected"))
            .mapValues(Merge::write)
            .merge(results)
            .repartition(Repartitioned.with(text, bytes).withName("results").withNumberOfPartitions(PARTITIONS))
            .process(Merging::new, STORE)
            .to(output, Produced.with(text, bytes));
        return builder;
    }

    /** An opening under the batch's id, and the records of each station under the station's. */
    private static List<KeyValue<String, ObjectNode>> split(String topic, byte[] value) {
        JsonNode loaded = read(value);
        JsonNode list = loaded.isArray() ? loaded : loaded.has(topic) ? loaded.get(topic) : loaded.get("realTimeData");
        Map<String, ArrayNode> stations = new LinkedHashMap<>();
        String latest = "";
        for (JsonNode record : list) {
            stations.computeIfAbsent(record.get("stationId").asText(), id -> JSON.createArrayNode()).add(record);
            String time = record.get("sendTime").asText();
            latest = time.compareTo(latest) > 0 ? time : latest;
        }
        String batch = topic + "_" + LocalDateTime.parse(latest, TIME).atZone(ZONE).toEpochSecond();
        ObjectNode opening = JSON.createObjectNode().put("openedAt", now());
        stations.keySet().forEach(opening.putArray("expected")::add);
        List<KeyValue<String, ObjectNode>> events = new ArrayList<>(stations.size() + 1);
        events.add(KeyValue.pair(batch, opening));
        stations.forEach((station, records) -> {
            ObjectNode event = JSON.createObjectNode().put("batch", batch).put("topic", topic);
            event.set("records", records);
            events.add(KeyValue.pair(station, event));
        });
        return events;
    }

    /** The result of one station, under the batch's id. */
    private static KeyValue<String, byte[]> call(String station, byte[] value) {
        JsonNode event = read(value);
        Map<String, Map<String, Object>> input = Map.of(event.get("topic").asText(), Columns.align(event.get("records")));
        ObjectNode result = JSON.createObjectNode().put("station_id", station).put("result", 1.5 + input.size());
        ObjectNode arrival = JSON.createObjectNode().put("station", station);
        arrival.set("result", result);
        return KeyValue.pair(event.get("batch").asText(), write(arrival));
    }

    /** The rows of a batch: its opening, each result, and how many stations are expected and have not arrived. */
    private static final class Merging implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> store;
        private final Map<String, Double> deadlines = new HashMap<>();

        @Override
        public void init(ProcessorContext<String, byte[]> given) {
            context = given;
            store = given.getStateStore(STORE);
            try (KeyValueIterator<String, byte[]> rows = store.all()) {
                rows.forEachRemaining(row -> {
                    if (row.key.endsWith("\0")) {
                        deadlines.put(row.key.substring(0, row.key.length() - 1), deadline(read(row.value)));
                    }
                });
            }
            given.schedule(Duration.ofSeconds(1), PunctuationType.WALL_CLOCK_TIME, at -> expire());
        }

        @Override
        public void process(Record<String, byte[]> record) {
            String batch = record.key();
            JsonNode event = read(record.value());
            int change;
            if (event.has("expected")) {
                store.put(batch + "\0", record.value());
                deadlines.put(batch, deadline(event));
                change = event.get("expected").size();
            } else {
                String row = batch + "\0" + event.get("station").asText();
                if (store.get(row) != null) {
                    return;
                }
                store.put(row, write(event.get("result")));
                change = -1;
            }
            byte[] counted = store.get(batch + "\1");
            int left = (counted == null ? 0 : Integer.parseInt(new String(counted, StandardCharsets.US_ASCII))) + change;
            store.put(batch + "\1", Integer.toString(left).getBytes(StandardCharsets.US_ASCII));
            if (left == 0) {
                close(batch);
            }
        }

        private void expire() {
            double now = now();
            deadlines.entrySet().stream().filter(due -> due.getValue() <= now).map(Map.Entry::getKey).toList()
                .forEach(this::close);
        }

        private void close(String batch) {
            Map<String, byte[]> rows = new HashMap<>();
            try (KeyValueIterator<String, byte[]> found = store.range(batch + "\0", batch + "\1")) {
                found.forEachRemaining(row -> rows.put(row.key, row.value));
            }
            JsonNode opening = read(rows.get(batch + "\0"));
            ObjectNode out = JSON.createObjectNode().put("batch_id", batch).put("timestamp", now());
            ArrayNode stations = out.putArray("stations");
            ArrayNode missing = JSON.createArrayNode();
            for (JsonNode station : opening.get("expected")) {
                byte[] result = rows.get(batch + "\0" + station.asText());
                if (result == null) {
                    missing.add(station);
                } else {
                    stations.addRawValue(new RawValue(new String(result, StandardCharsets.UTF_8)));
                }
            }
            out.put("station_count", stations.size());
            out.putObject("meta").put("opened_at", opening.get("openedAt").asDouble())
                .put("expected_count", opening.get("expected").size()).set("missing", missing);
            context.forward(new Record<>(batch, write(out), context.currentSystemTimeMs()));
            rows.keySet().forEach(store::delete);
            deadlines.remove(batch);
        }

        private static double deadline(JsonNode opening) {
            return opening.get("openedAt").asDouble() + TIMEOUT;
        }
    }

    private static double now() {
        return System.currentTimeMillis() / 1000.0;
    }

    private static JsonNode read(byte[] value) {
        try {
            return JSON.readTree(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static byte[] write(JsonNode value) {
        try {
            return JSON.writeValueAsBytes(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
