// Sums of weights times words, FILTERS filters at once, LANES products each; sums leave one by one, in the filters' order.
//
// A word of the memory of weights holds those of a group of filters for one word of the stream: lane by lane, filter by filter.
module multiply #(
    parameter DATA = 8,
    parameter LANES = 1,
    parameter OUTPUTS = 1,
    parameter FILTERS = 1,
    parameter TAPS = 1,
    parameter BITS = 8,
    parameter SUM = 20,
    parameter LOGIC = 0,
    parameter FILE = ""
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [LANES*DATA-1:0] in_data,
    input in_last,
    output out_valid,
    input out_ready,
    output signed [SUM-1:0] out_data
);
    localparam GROUPS = (OUTPUTS + FILTERS - 1) / FILTERS;
    localparam REST = OUTPUTS - (GROUPS - 1) * FILTERS;
    localparam WORD = FILTERS * LANES * BITS;
    localparam SIZE = GROUPS * TAPS;
    localparam A = SIZE > 1 ? $clog2(SIZE) : 1;

    reg [WORD-1:0] weights [0:SIZE-1];
    initial $readmemh(FILE, weights);

    reg full;  // Sums are complete.
    reg [$clog2(FILTERS+1)-1:0] left;  // Sums that have not left.
    reg drained;  // None are left.
    wire moves = !full || drained;
    assign in_ready = moves;

    // Stages: the memory's output, a register, another one, products, their sum over the lanes, the sum.
    reg [A-1:0] address;
    reg begins;
    reg [WORD-1:0] weight_0, weight_1;
    reg [LANES*DATA-1:0] word_0, word_1;
    reg [4:0] valid, first, last;
    always @(posedge clock)
        if (reset) begin
            address <= 0;
            begins <= 1;
            valid <= 0;
        end else if (moves) begin
            valid <= {valid[3:0], in_valid};
            if (in_valid) begin
                address <= address == SIZE - 1 ? 0 : address + 1'b1;
                begins <= in_last;
            end
        end
    always @(posedge clock)
        if (moves) begin
            weight_0 <= weights[address];
            weight_1 <= weight_0;
            word_0 <= in_data;
            word_1 <= word_0;
            first <= {first[3:0], begins};
            last <= {last[3:0], in_last};
        end

    wire [FILTERS*SUM-1:0] sums;
    genvar f, l;
    generate
        for (f = 0; f < FILTERS; f = f + 1) begin : filter
            wire [LANES*(DATA+BITS)-1:0] products;
            for (l = 0; l < LANES; l = l + 1) begin : lane
                reg [DATA-1:0] value;
                reg signed [BITS-1:0] weight;
                reg signed [DATA+BITS-1:0] kept;
                wire signed [DATA+BITS-1:0] result;
                product #(.DATA(DATA), .BITS(BITS), .LOGIC(LOGIC)) times (.value(value), .weight(weight), .result(result));
                always @(posedge clock)
                    if (moves) begin
                        value <= word_1[l*DATA +: DATA];
                        weight <= weight_1[(f*LANES+l)*BITS +: BITS];
                        kept <= result;
                    end
                assign products[l*(DATA+BITS) +: DATA+BITS] = kept;
            end
            reg signed [SUM-1:0] total, added, sum;
            integer i;
            always @* begin
                added = 0;
                for (i = 0; i < LANES; i = i + 1) added = added + $signed(products[i*(DATA+BITS) +: DATA+BITS]);
            end
            always @(posedge clock)
                if (moves) begin
                    total <= added;
                    if (valid[4]) sum <= first[4] ? total : sum + total;
                end
            assign sums[f*SUM +: SUM] = sum;
        end
    endgenerate

    // Sums leave while the next ones are made.
    reg [FILTERS*SUM-1:0] leaving;
    reg [$clog2(GROUPS+1)-1:0] group;
    assign out_valid = !drained;
    assign out_data = leaving[SUM-1:0];
    always @(posedge clock)
        if (reset) begin
            full <= 0;
            left <= 0;
            drained <= 1;
            group <= 0;
        end else begin
            if (moves) full <= valid[4] && last[4];
            if (full && moves) begin
                left <= group == GROUPS - 1 ? REST : FILTERS;
                drained <= 0;
                group <= group == GROUPS - 1 ? 0 : group + 1'b1;
            end else if (out_valid && out_ready) begin
                left <= left - 1'b1;
                drained <= left == 1;
            end
        end
    always @(posedge clock)
        if (full && moves) leaving <= sums;
        else if (out_ready) leaving <= leaving >> SUM;
endmodule
