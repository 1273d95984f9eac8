import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/**
 * One OpenSearch node in this process: SearchNode FOLDER NAME=VALUE...
 * Compiles against 2.19, which takes plugins by class, and 3.x, which takes them by PluginInfo.
 */
public class SearchNode {
    // In 3.x their names end in ModulePlugin, in 2.x in Plugin.
    private static final String[] PLUGINS = {
        "org.opensearch.transport.Netty4",
        "org.opensearch.analysis.common.CommonAnalysis",
        "org.opensearch.geo.Geo",
        "org.opensearch.painless.Painless",
        "org.opensearch.index.mapper.MapperExtras",
        "org.opensearch.index.reindex.Reindex",
        "org.opensearch.search.aggregations.matrix.MatrixAggregation",
    };

    public static void main(String[] arguments) throws Exception {
        Path folder = Files.createDirectories(Path.of(arguments[0]).toAbsolutePath());
        Settings.Builder settings = Settings.builder()
            .put("path.home", folder.toString())
            .put("node.name", "live")
            .put("discovery.type", "single-node");
        for (String setting : List.of(arguments).subList(1, arguments.length)) {
            String[] pair = setting.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), null, () -> "live");
        List<Object> plugins = new ArrayList<>();
        for (String name : PLUGINS) {
            Class<?> plugin = find(name);
            plugins.add(Version.CURRENT.major < 3 ? plugin : describe(plugin.getName()));
        }
        // Only a protected constructor takes plugins from the class path.
        var make = Node.class.getDeclaredConstructor(Environment.class, Collection.class, boolean.class);
        make.setAccessible(true);
        Node node = make.newInstance(environment, plugins, false);
        node.start();
        Thread.currentThread().join();
    }

    private static Class<?> find(String name) throws ClassNotFoundException {
        try {
            return Class.forName(name + "ModulePlugin");
        } catch (ClassNotFoundException older) {
            return Class.forName(name + "Plugin");
        }
    }

    private static PluginInfo describe(String name) {
        return new PluginInfo(name, "from the class path", "NA", Version.CURRENT, "17", name, null, List.of(), false);
    }
}
