import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** The columns of one station's records, aligned in time: what the callback gets. Gaps are zero. */
final class Columns {
    private static final Set<String> NO_SCALARS = Set.of("stationId", "sendTime", "gunPower");

    private Columns() {}

    static Map<String, Object> align(JsonNode records) {
        Map<String, Integer> rows = new TreeMap<>();
        for (JsonNode record : records) {
            rows.put(record.get("sendTime").asText(), 0);
        }
        List<String> times = new ArrayList<>(rows.keySet());
        for (int row = 0; row < times.size(); row++) {
            rows.put(times.get(row), row);
        }
        Map<List<String>, Integer> guns = new LinkedHashMap<>();
        int[][] slots = new int[records.size()][];
        for (int index = 0; index < slots.length; index++) {
            slots[index] = slotsOf(records.get(index), guns);
        }
        Map<String, double[][]> cells = new LinkedHashMap<>();
        Map<String, Object[]> scalars = new LinkedHashMap<>();
        for (int index = 0; index < slots.length; index++) {
            JsonNode record = records.get(index);
            int row = rows.get(record.get("sendTime").asText());
            int[] of = slots[index];
            if (of != null) {
                record.get("gunPower").fields().forEachRemaining(list -> {
                    if (!list.getKey().equals("gunNo")) {
                        double[][] matrix =
                            cells.computeIfAbsent(list.getKey(), name -> new double[times.size()][guns.size()]);
                        for (int gun = 0; gun < of.length; gun++) {
                            matrix[row][of[gun]] = list.getValue().get(gun).asDouble();
                        }
                    }
                });
            }
            record.fields().forEachRemaining(field -> {
                if (!NO_SCALARS.contains(field.getKey()) && !(of != null && field.getKey().equals("hostCode"))) {
                    scalars.computeIfAbsent(field.getKey(), name -> new Object[times.size()])[row] =
                        field.getValue().isNumber() ? (Object) field.getValue().asDouble() : field.getValue().asText();
                }
            });
        }
        Map<String, Object> columns = new LinkedHashMap<>();
        columns.put("sendTime", times);
        if (!guns.isEmpty()) {
            columns.put("gunNo", guns.keySet().stream().map(gun -> gun.get(1)).toList());
            columns.put("hostCode", guns.keySet().stream().map(gun -> gun.get(0)).toList());
        }
        columns.putAll(cells);
        scalars.forEach((name, values) -> columns.put(name, Arrays.asList(values)));
        return columns;
    }

    /** The columns of a record's guns, in the order of its lists; null where it has none. */
    private static int[] slotsOf(JsonNode record, Map<List<String>, Integer> guns) {
        JsonNode power = record.get("gunPower");
        if (power == null) {
            return null;
        }
        String host = record.path("hostCode").asText();
        JsonNode numbers = power.get("gunNo");
        int[] slots = new int[numbers.size()];
        for (int gun = 0; gun < slots.length; gun++) {
            slots[gun] = guns.computeIfAbsent(List.of(host, numbers.get(gun).asText()), key -> guns.size());
        }
        return slots;
    }
}
