import java.net.URI;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseSerializer;

/** Prints each row of a lease table as the Kinesis Client Library itself understands it. */
public class LeaseReader {
    public static void main(String[] arguments) {
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        try (DynamoDbClient client = DynamoDbClient.builder()
                .endpointOverride(URI.create(arguments[0]))
                .region(Region.US_EAST_1)
                .credentialsProvider(credentials)
                .httpClient(UrlConnectionHttpClient.create())
                .build()) {
            var serializer = new DynamoDBLeaseSerializer();
            for (var row : client.scan(scan -> scan.tableName(arguments[1]).consistentRead(true)).items()) {
                Lease lease = serializer.fromDynamoRecord(row);
                var range = lease.hashKeyRangeForLease();
                System.out.println(String.join("\t",
                        lease.leaseKey(),
                        String.valueOf(lease.leaseOwner()),
                        String.valueOf(lease.leaseCounter()),
                        lease.checkpoint().sequenceNumber(),
                        String.join(",", lease.parentShardIds()),
                        String.join(",", new java.util.TreeSet<>(lease.childShardIds())),
                        range.serializedStartingHashKey() + "-" + range.serializedEndingHashKey()));
            }
        }
    }
}
